"""From a question set and what the services answered to scores with confidence intervals, and to the verdict against a baseline."""
