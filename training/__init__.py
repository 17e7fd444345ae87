"""Makes the demo model and its pictures. Not part of the installed gateway; needs the extra ``train`` to train."""
