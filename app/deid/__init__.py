"""De-identification: pure rules over tables handed in; no database of ours, clock, network or settings."""
