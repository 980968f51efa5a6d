# Paper, section 4.1: a reply belongs to the request whose number it bears.
cluster 3
request c1 put x 1
catch c1->r0 request as m1
resend c1
settle
expect reply c1 "ok"
catch r0->c1 reply as m2
release m1
block c1->r0 request
request c1 get x
release m2
expect no reply c1
unblock c1->r0
resend c1
settle
expect reply c1 "1"
