"""A recipe written for one base model and one machine (`negalign init`)."""
