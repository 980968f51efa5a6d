# The value is on the disk with its entry, and comes back with it: what is executed again is executed alike.
cluster 3 predicts backups
request c1 put x 1
settle
timeout r0 heartbeat
settle
expect key predicted r0.1+r1.1@0ms/0
crash r0
crash r1
crash r2
restart r0
restart r1
restart r2
given run 3s
expect key predicted r0.1+r1.1@0ms/0
expect same-state *
