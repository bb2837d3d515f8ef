"""secretd: secrets that end on time."""
