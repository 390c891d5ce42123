"""Citations: who made a dataset, under which DOI a version is known, how it is cited, what was published from it."""
