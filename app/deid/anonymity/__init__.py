"""k-anonymity with l-diversity and t-closeness: find labels for quasi-identifiers, keep them, coarsen them."""
