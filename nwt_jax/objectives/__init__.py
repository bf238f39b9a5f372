"""The paper's equations as functions of arrays."""
