"""Access tokens: issuers, their keys, and what makes a token valid."""
