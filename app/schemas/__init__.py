"""The shapes that travel: dictionary, plan, and the bodies of the API. No behaviour beyond their own checks."""
