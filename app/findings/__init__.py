"""The way back: a finding reaches the institution by the return token alone; a participant learns of all uses."""
