"""Optical flow: Brox et al. 2004, dense inverse search, a cache of flows, their colours."""
