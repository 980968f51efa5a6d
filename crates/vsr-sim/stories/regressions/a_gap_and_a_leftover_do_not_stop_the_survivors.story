# A gap of the latest view beside a leftover of an earlier one: the leftover's holder was never normal
# in the latest view, so that it never held what is missing, and two survivors go on (ADR 16).
cluster 3
given load c1 1 k
given timeout r0 heartbeat
given settle
cut r0 | r1 r2
cut c2->r0
request c1 put x old
block r1->r2 prepare
timeout r1 primary-silence
timeout r2 primary-silence
settle
unblock r1->r2 prepare
request c2 put y 2
resend c2
deliver r1->r2 prepare
crash r1
drop r1->*
heal
given run 60s
expect some primary
expect one view
