"""The synthetic talker: clips of a drawn person who speaks, with the exact truth of every movement."""
