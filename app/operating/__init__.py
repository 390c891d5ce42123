"""What operators run from the shell: the production check, the doctor, and the rotation of the master key."""
