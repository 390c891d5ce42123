"""The consent register of a cohort: who said what of which domain, and the epoch that moves with every change."""
