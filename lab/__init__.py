"""This toolkit measured: speed (`lab.bench`) and the papers' tables (`lab.studies`)."""
