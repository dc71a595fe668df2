"""Records of answers: what was asked, what was answered and what it was made with."""
