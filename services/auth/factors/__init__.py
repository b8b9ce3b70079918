"""Second factors and the challenges that ask for one: what signing in needs of them."""
