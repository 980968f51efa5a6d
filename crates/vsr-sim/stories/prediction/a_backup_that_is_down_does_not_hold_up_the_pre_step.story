# The pre-step needs as many backups as replicate an entry anyway, and no more: one of three may be down.
cluster 3 predicts backups
crash r1
request c1 put x 1
settle
expect reply c1 "ok"
timeout r0 heartbeat
settle
expect key predicted r0.1+r2.1@0ms/0
restart r1
run 1s
expect key predicted r0.1+r2.1@0ms/0
expect same-state *
