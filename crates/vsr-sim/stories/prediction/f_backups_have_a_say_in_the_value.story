# Paper, section 4.4, the pre-step: the primary asks the backups for their values, waits for f, and combines them with its
# own. Here the lower median of the times, and all draws. Who answers later is not needed.
cluster 5 predicts backups
clock r0 ahead 900ms
clock r3 ahead 200ms
request c1 put x 1
deliver r0->r3 pre-step
deliver r0->r4 pre-step
deliver r3->r0 pre-step-ok
expect r0 op 0
deliver r4->r0 pre-step-ok
expect r0 op 1
deliver r0->r1 pre-step
deliver r1->r0 pre-step-ok
expect r0 ignored not-asked
settle
timeout r0 heartbeat
settle
expect reply c1 "ok"
expect key predicted r0.1+r3.1+r4.1@200ms/0
expect same-state *
