"""What a valid user feels while others attack: `python -m bench.attacks`."""
