# Two of three lost their memory: what they acknowledged together may be in nobody's any more. They stay as they
# are for ever, and say so; the third one alone begins no view. The same when all three stopped.
cluster 3 durability memory
given request c1 put x 1
given settle
crash r1
crash r2
restart r1
restart r2
given run 5s
expect r1 status recovering
expect r2 status recovering
expect not r0 ready
timeout r1 recovery
deliver r1->r2
crash r0
restart r0
given run 20s
show
expect r0 status recovering
expect not some primary
expect not key x 1
