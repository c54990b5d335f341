# Writes down what the kernel logs of packets, for natlab: see collect.py, which starts it on every machine.
#
#   perl collector.pl FILE GROUP SECONDS BYTES [COPY] <TABLE
#
# It listens to the NFLOG group, then has nft make the table, which nft owns: the kernel takes it away with nft, and nft
# ends with this program. FILE then holds its process ID (or what went wrong), and goes with it. SIGTERM ends it, once
# all is read that the kernel has by then. On standard output, a line each: the time and the kernel's message,
# hexadecimal; `lost` when the kernel says that it could not hand over some; `full` after so many BYTES; at its end `end`.
# COPY, if given, is a file that gets the same meanwhile, `end` excepted, for whoever does not wait for the end.
use strict;
use Time::HiRes;
my ($file, $group, $seconds, $bytes, $copy) = @ARGV;
my ($NETLINK_NETFILTER, $NFULNL_CONFIG, $ENOBUFS, $EAGAIN, $DONTWAIT) = (12, 0x401, 105, 11, 0x40);
my $ending = 0;
my $copied;
$SIG{TERM} = $SIG{INT} = $SIG{HUP} = sub { $ending = 1 };
$SIG{PIPE} = 'IGNORE';
$^F = 2;
$| = 1;

sub said {
    my ($words) = @_;
    open my $to, '>', "$file.new" or exit 3;
    print $to "$words\n";
    close $to;
    rename "$file.new", $file;
}

sub keep {
    my ($line) = @_;
    syswrite $copied, $line if $copied;
    print $line;
}

sub failed {
    said("failed: @_");
    print "failed: @_\n";
    exit 1;
}

my $definition = do { local $/; <STDIN> };
socket my $log, 16, 3, $NETLINK_NETFILTER or failed("netlink: $!");    # AF_NETLINK, SOCK_RAW
bind $log, pack 'S S L L', 16, 0, 0, 0 or failed("netlink: $!");
# 4 MiB if the kernel lets us (SO_RCVBUFFORCE), what it allows otherwise.
setsockopt $log, 1, 33, pack 'L', 4 << 20 or setsockopt $log, 1, 8, pack 'L', 4 << 20;

sub attribute { my ($type, $value) = @_; pack 'S S a*', 4 + length $value, $type, $value . "\0" x (-length($value) % 4) }

sub configure {
    my ($what, @attributes) = @_;
    my $body = pack('C C n', 2, 0, $group) . join '', @attributes;         # AF_INET, version, group
    my $message = pack('L S S L L', 16 + length $body, $NFULNL_CONFIG, 5, 1, 0) . $body;    # REQUEST | ACK
    send $log, $message, 0 or failed("$what: $!");
    recv $log, my $answer, 65536, 0;
    my ($type, $error) = (unpack('x4 S', $answer), unpack 'x16 l', $answer);
    if ($type == 2 && $error) { $! = -$error; failed("$what: $!") }
}

configure('binding to NFLOG', attribute(1, pack 'C', 1));
configure('asking NFLOG for packets', attribute(2, pack 'N C C', 0xffff, 2, 0));    # all of what the rule allows
configure('asking NFLOG for numbers', attribute(6, pack 'n', 1));                   # sequence numbers
configure('asking NFLOG not to wait', attribute(5, pack 'N', 1));

pipe my $commands, my $to_nft and pipe my $from_nft, my $answers or failed("pipe: $!");
my $nft = fork;
failed("fork: $!") unless defined $nft;
if (!$nft) {
    open STDIN, '<&', $commands;
    open STDOUT, '>&', $answers;
    open STDERR, '>&', $answers;
    exec 'nft', '-i' or print "nft: $!\n";
    exit 1;
}
close $_ for $commands, $answers;
$definition =~ s/\s*\n\s*/ /g;
my ($name) = $definition =~ /^table \w+ (\w+)/;
syswrite $to_nft, "$definition\nlist tables\n";
my $answer = '';
until ($answer =~ /^table \w+ $name$/m) {
    my $ready = '';
    vec($ready, fileno $from_nft, 1) = 1;
    my $alive = select($ready, undef, undef, $seconds) > 0 && sysread $from_nft, $answer, 65536, length $answer;
    failed('nft: ' . ($answer =~ /^(\S[^\n]*)/m ? $1 : 'it does not answer')) if !$alive || $answer =~ /^Error/m;
}
if ($copy) { open $copied, '>', $copy or failed("$copy: $!") }
said($$);

my $until = time + $seconds;
while (1) {
    my $ready = '';
    vec($ready, fileno $_, 1) = 1 for $log, $from_nft;
    if (!$ending) {
        $ending = 1 if time > $until;
        my $found = select $ready, undef, undef, 0.2;
        if ($found == 0) { syswrite STDOUT, "\n" or last; next }    # whoever listens has gone
        $ending = 1 if $found > 0 && vec $ready, fileno $from_nft, 1;
    }
    my $got = recv $log, my $message, 65536, $DONTWAIT;
    if (!defined $got) {
        if ($! == $ENOBUFS) { keep("lost\n"); next }
        last if $ending;
        next;
    }
    $bytes -= length $message;
    if ($bytes < 0) { keep("full\n"); last }
    keep(sprintf "%.6f %s\n", Time::HiRes::time(), unpack 'H*', $message) or last;
}
unlink $file, $copy || ();
print "end\n";
close $to_nft;
kill 'KILL', $nft;
