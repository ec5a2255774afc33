"""Networks: torsos turn observations into features, memories carry them through time, heads read them out."""
