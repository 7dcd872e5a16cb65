"""Proofs: gradients against finite differences, engines against the references."""

from .gradients import Block, Case, Report, check, check_network

__all__ = ["Block", "Case", "Report", "check", "check_network"]
