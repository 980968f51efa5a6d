# SEED-L3: a PREPARE that is held already is acknowledged again.
cluster 3
block r0->r2 prepare
request c1 put x 1
deliver r0->r1
drop r1->r0
timeout r0 prepare-resend
settle
expect reply c1 "ok"
expect r1 op 1
