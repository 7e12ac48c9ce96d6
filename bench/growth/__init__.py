"""Speed and memory by the number of members, units, workers, connections and campaigns."""
