"""What people look at: the page, tables in Markdown, filters and what excites them."""
