"""How good the lists are: a log is run as it happened, recommending before learning, and strategies are compared."""
