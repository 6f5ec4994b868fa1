"""Every claim, in the order of methods.md."""

from deciding import fatemi, o1_pruner, t1

CLAIMS = {claim.name: claim for claim in (*fatemi.CLAIMS, *t1.CLAIMS, *o1_pruner.CLAIMS)}

FIRST = ("F4", "F5", "F2", "F3", "F8", "F10", "T1a", "T1d", "T1f", "O1", "O3", "O5")
"""Those that would change a user's mind come first."""

ORDER = (*FIRST, *(name for name in CLAIMS if name not in FIRST))
