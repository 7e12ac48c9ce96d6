"""How do speed and memory go with the number of members, units, workers, connections and campaigns?"""
