"""The number and how sure it is: score.json, intervals, chance, captions, pairs, exports."""
