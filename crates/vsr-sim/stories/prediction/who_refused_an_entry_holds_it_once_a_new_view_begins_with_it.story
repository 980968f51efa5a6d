# Both backups refuse, but only one of the denials is heard in the view change: the entry stays, since it may have been
# committed for all that the new primary knows. Then the only replica that agreed to it dies. Were r2 to refuse it once
# more, the new primary could commit nothing.
cluster 3 predicts primary
clock r0 ahead 60000ms
given request c1 put x 1
deliver r0->r1 prepare
deliver r0->r2 prepare
given deliver r1->r0 nack
given deliver r2->r0 nack
given timeout r0 abdicate
block r2->r1 do-view-change
block r0->r1 prepare-ok
given settle
expect r1 primary
expect r1 op 1
expect r2 commit 0
crash r0
unblock r2->r1
given run 200ms
expect r1 primary
expect reply c1 "ok"
expect key predicted r0.1@60000ms/0
expect same-state *
