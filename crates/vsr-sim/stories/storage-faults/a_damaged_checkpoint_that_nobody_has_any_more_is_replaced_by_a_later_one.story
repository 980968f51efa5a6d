# r2's checkpoint is damaged while it is dead, and the others have changed since what it holds: nobody has that chunk any more. So
# r2 takes their checkpoint.
cluster 3 checkpoint-every 2 log-slots 16 pipeline 2
given load c1 2 k
given run 500ms
expect r2 checkpoint 2
crash r2
corrupt r2 chunk 1
given load c1 12 k
given run 500ms
restart r2
given run 2s
expect r2 repaired 0
expect same-state *
