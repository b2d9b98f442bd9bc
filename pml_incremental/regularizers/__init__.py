"""Quadratic penalties that hold parameters near what earlier tasks left; torch only."""

from pml_incremental.regularizers.ewc import EWC, OnlineEWC
from pml_incremental.regularizers.mas import MAS
from pml_incremental.regularizers.parameter_regularizer import ParameterRegularizer
from pml_incremental.regularizers.synaptic_intelligence import SynapticIntelligence

__all__ = ["EWC", "MAS", "OnlineEWC", "ParameterRegularizer", "SynapticIntelligence"]
