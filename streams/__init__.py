"""The shell of Hypercare: Faust, Kafka, disk, HTTP and the command line.

Everything that acts on the world lives here and asks ``detector`` what to do;
imports run that way only.
"""
