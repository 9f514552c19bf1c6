"""For each scheduler that comes with Passerelle, a module of its name with `prepared`, as the suite wants."""
