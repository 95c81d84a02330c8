"""The formulas of RLHF, each written once: pure torch functions without model, files or configuration.

Like tensors are keyword-only. A `mask` is boolean or 0/1, with 1 where a token is valid; what stands under a 0 is never
read, not even a NaN. Sources are cited as P (arXiv 2203.02155), A (openai/lm-human-preferences), C (vwxyzjn's
summarize_from_feedback_details) and H (arXiv 1706.03741).
"""

from backflip.maths import advantage, kl, moments, policy, preference, shapes

__all__ = ["advantage", "kl", "moments", "policy", "preference", "shapes"]
