"use strict";
const list = document.getElementById("videos"), cards = [...list.children];
const choice = document.getElementById("class"), order = document.getElementById("order");
const chips = [...document.querySelectorAll(".chip")].map((chip) => {
  const button = document.createElement("button");
  button.className = "chip";
  button.type = "button";
  button.dataset.c = chip.dataset.c;
  button.append(...chip.childNodes);
  button.onclick = () => { choice.value = choice.value === button.dataset.c ? "all" : button.dataset.c; update(); };
  chip.replaceWith(button);
  return button;
});
const given = new Map(cards.map((card, index) => [card, index]));
function update() {
  let count = 0;
  for (const card of cards) {
    card.hidden = choice.value !== "all" && card.dataset.c !== choice.value;
    count += !card.hidden;
  }
  for (const chip of chips) chip.setAttribute("aria-pressed", chip.dataset.c === choice.value);
  document.getElementById("count").textContent = `${count} of ${cards.length} video${cards.length === 1 ? "" : "s"}`;
}
function sort() {
  const key = order.value === "uncertain" ? (card) => +card.dataset.u : (card) => given.get(card);
  cards.sort((a, b) => key(a) - key(b));
  list.append(...cards);
}
choice.onchange = update;
order.onchange = sort;
document.getElementById("filters").hidden = false;
if (order.value !== "given") sort();
update();
document.documentElement.dataset.ready = "yes";
