"""What Education knows of people: their names, as Auth tells them."""
