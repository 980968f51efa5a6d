# Neither the question nor an answer is lost for good: the primary asks again those who did not answer, and who answered
# gives the same value again.
cluster 3 predicts backups
request c1 put x 1
drop r0->r1 pre-step
deliver r0->r2 pre-step
drop r2->r0 pre-step-ok
timeout r0 pre-step-resend
drop r0->r1 pre-step
deliver r0->r2 pre-step
deliver r2->r0 pre-step-ok
settle
timeout r0 heartbeat
settle
expect reply c1 "ok"
expect key predicted r0.1+r2.1@0ms/0
