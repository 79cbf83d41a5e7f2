"""gym-aloha's transfer of a cube between two arms; its simulator needs the extra "aloha"."""

TASK = "transfer_cube"
CAMERAS = ("top",)
