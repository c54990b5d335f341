# Starts programs for natlab on a machine, over one SSH channel: see sshserver.py, which speaks with it.
#
# A request:  id, length of the words, length of the input (N N N); the words, NUL between them; the input.
#             The words are NAME=VALUE for the environment, an empty one, and the program with its arguments.
#             A request without words asks that the program of that id be ended.
# An answer:  id, kind, length (N C N); the bytes. Kinds: 0 ready, 1 stdout, 2 stderr, 3 ended (wait status, N),
#             4 not started (errno, N).
#
# Given a path and a user it stays: it listens there, for that user alone, and serves each connection with a process of
# its own. Without, it serves one: standard input and output.
#
# No modules: on an emulated machine each takes longer to load than a program takes to run.
use strict;
$| = 1;
$^F = 2;
binmode $_ for *STDIN, *STDOUT;
umask 022;
$SIG{PIPE} = 'IGNORE';
serve_at(@ARGV) if @ARGV;
pipe my $woken, my $wake or die;
$SIG{CHLD} = sub { local $!; syswrite $wake, '.' };

my %running;    # pid -> what is known of the program
my $asked = '';

# Return in a process for each connection, which is its standard input and output then.
sub serve_at {
    my ($path, $user) = @_;
    unlink $path;
    socket my $listener, 1, 1, 0 or die "socket: $!\n";    # AF_UNIX, SOCK_STREAM
    bind $listener, pack 'S a108', 1, $path or die "$path: $!\n";
    chown scalar getpwnam $user, 0, $path and chmod 0600, $path and listen $listener, 16 or die "$path: $!\n";
    my $pid = fork;
    exit !defined $pid if !defined $pid || $pid;
    setpgrp 0, 0;
    open STDERR, '>', '/dev/null';
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', '/dev/null';
    local $SIG{CHLD} = 'IGNORE';
    while (1) {
        accept my $connection, $listener or select(undef, undef, undef, 0.1), next;
        if (defined($pid = fork) && !$pid) {
            open STDIN, '<&', $connection;
            open STDOUT, '>&', $connection;
            return;
        }
    }
}

sub answer {
    my ($id, $kind, $bytes) = @_;
    my $frame = pack('N C N', $id, $kind, length $bytes) . $bytes;
    while (length $frame) {
        my $written = syswrite STDOUT, $frame;
        next if !defined $written && $! == 4;    # EINTR: a program ended while nobody read
        last_words() unless defined $written;
        substr $frame, 0, $written, '';
    }
}

sub last_words {
    kill 'KILL', map { -$_ } keys %running;
    exit 0;
}

sub start {
    my ($id, $words, $input) = @_;
    my (@environment, @argv) = ();
    my @words = split /\0/, $words, -1;
    push @environment, shift @words while @words && $words[0] ne '';
    shift @words;
    @argv = @words;
    my (@in, @out, @err, @failed);
    pipe $in[0], $in[1] and pipe $out[0], $out[1] and pipe $err[0], $err[1] and pipe $failed[0], $failed[1]
        or return answer($id, 4, pack 'N', $!);
    my $pid = fork;
    return answer($id, 4, pack 'N', $!) unless defined $pid;
    if (!$pid) {
        setpgrp 0, 0;
        $SIG{PIPE} = $SIG{CHLD} = 'DEFAULT';
        chdir '/root' or chdir '/';
        open STDIN, '<&', $in[0];
        open STDOUT, '>&', $out[1];
        open STDERR, '>&', $err[1];
        %ENV = map { split /=/, $_, 2 } @environment;
        exec { $argv[0] } @argv;
        syswrite $failed[1], pack 'N', $!;
        require POSIX;
        POSIX::_exit(127);
    }
    close $_ for $in[0], $out[1], $err[1], $failed[1];
    $running{$pid} = {id => $id, in => $in[1], input => $input, 1 => $out[0], 2 => $err[0], failed => $failed[0]};
    if (!length $input) { close delete $running{$pid}{in} }
}

sub forward {
    my ($program, $kind) = @_;
    my $got = sysread $program->{$kind}, my $bytes, 65536;
    if ($got) { answer($program->{id}, $kind, $bytes); return 1 }
    close delete $program->{$kind};
    return 0;
}

sub feed {
    my ($program) = @_;
    # A pipe that takes anything takes this much (pipe(7), PIPE_BUF): the write does not block.
    my $written = syswrite $program->{in}, $program->{input}, 4096;
    substr $program->{input}, 0, $written, '' if $written;
    close delete $program->{in} unless $written && length $program->{input};
}

sub bury {
    my ($pid, $status) = @_;
    my $program = delete $running{$pid} or return;
    for my $kind (1, 2) {
        # What it said is in the pipe by now. What it left running may hold the other end for ever.
        while ($program->{$kind}) {
            my $ready = '';
            vec($ready, fileno $program->{$kind}, 1) = 1;
            last unless select($ready, undef, undef, 0) > 0;
            last unless forward($program, $kind);
        }
    }
    if (sysread $program->{failed}, my $error, 4) { return answer($program->{id}, 4, $error) }
    answer($program->{id}, 3, pack 'N', $status);
}

sub listen_once {
    last_words() unless sysread STDIN, $asked, 65536, length $asked;
    while (length $asked >= 12) {
        my ($id, $words, $input) = unpack 'N N N', $asked;
        last if length $asked < 12 + $words + $input;
        my $request = substr $asked, 0, 12 + $words + $input, '';
        if ($words) { start($id, substr($request, 12, $words), substr($request, 12 + $words)) }
        else { kill 'KILL', map { -$_ } grep { $running{$_}{id} == $id } keys %running }
    }
}

print "\nnatlab-server-ready\n";
while (1) {
    my ($read, $write) = ('', '');
    vec($read, fileno $_, 1) = 1 for *STDIN, $woken;
    for my $program (values %running) {
        $program->{$_} and vec($read, fileno $program->{$_}, 1) = 1 for 1, 2;
        vec($write, fileno $program->{in}, 1) = 1 if $program->{in};
    }
    next if select($read, $write, undef, undef) < 0;
    for my $program (values %running) {
        for my $kind (1, 2) {
            forward($program, $kind) if $program->{$kind} && vec($read, fileno $program->{$kind}, 1);
        }
        feed($program) if $program->{in} && vec($write, fileno $program->{in}, 1);
    }
    if (vec($read, fileno $woken, 1)) {
        sysread $woken, my $bytes, 4096;
        while ((my $pid = waitpid -1, 1) > 0) { bury($pid, $?) }
    }
    listen_once() if vec($read, fileno STDIN, 1);
}
