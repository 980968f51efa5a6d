# An entry is open until its value is there. Requests are taken meanwhile: they wait for the next entry, all of them
# together, and are answered in their turn.
cluster 3 predicts backups
request c1 put x 1
request c2 put y 1
request c3 put z 1
expect r0 op 0
deliver r0->r1 pre-step
deliver r1->r0 pre-step-ok
expect r0 op 1
settle
expect r0 op 2
expect reply c1 "ok"
expect reply c2 "ok"
expect reply c3 "ok"
timeout r0 heartbeat
settle
expect key predicted r0.2+r1.2@0ms/1
expect same-state *
