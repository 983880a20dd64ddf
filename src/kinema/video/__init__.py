"""Video files to frames, frames to clips, and the one loop over many videos."""
