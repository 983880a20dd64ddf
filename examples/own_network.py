"""A network of one's own: any PyTorch module whose class is given, never one that a file names.

kinema train VIDEOS --model examples/own_network.py:TwoConvolutions --out RUN
kinema extract VIDEOS --weights RUN/weights.safetensors --model ... --layer pool --out OUT
"""

import torch


class TwoConvolutions(torch.nn.Module):
    input_shape = (3, 16, 112, 112)  # channels, frames, height, width of a clip
    layers = ("pool",)  # what `features` knows

    def __init__(self, num_classes, width=16):
        super().__init__()
        self.first = torch.nn.Conv3d(3, width, 3, stride=2)
        self.second = torch.nn.Conv3d(width, 2 * width, 3, stride=2)
        self.head = torch.nn.Linear(2 * width, num_classes)

    def features(self, clips, layer):  # clips: (N, 3, T, H, W) float32, B, G, R, mean subtracted
        x = self.first(clips / 64).relu()
        return self.second(x).relu().mean((2, 3, 4))

    def forward(self, clips):
        return self.head(self.features(clips, "pool"))  # (N, num_classes) logits
