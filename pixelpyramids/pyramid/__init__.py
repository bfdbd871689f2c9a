"""The lossless pyramid: how an image splits, and in which order its parts are scored, sampled, encoded and decoded."""

from pixelpyramids.pyramid.splitting import between, from_residual, merge, pad_coarse, split, to_residual

__all__ = ["between", "from_residual", "merge", "pad_coarse", "split", "to_residual"]
