"""Protocols by name."""

PROTOCOLS = {
    "loso": "benchmarks.protocols.leave_one_subject_out:LeaveOneSubjectOut",
    "stream": "benchmarks.protocols.subject_stream:SubjectStream",
}
