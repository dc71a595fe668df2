"""The journeys, in plain async Python over ports."""
