<#
.SYNOPSIS
    The files and the checkpoint entries of a VHD Set.
.DESCRIPTION
    Input: { settings, path }. Output: { path, chain, entries }.
    Source: hyperv.md 1.6 (GetVHDSetInformation, GetVHDSnapshotInformation).
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
    [ordered]@{
        path    = [string]$Request.path
        chain   = @(Get-GcbVhdSetChain -ImageService $images -Path $Request.path -Order $Request.settings.vhdSetOrder)
        entries = @(Get-GcbVhdSetEntry -ImageService $images -Path $Request.path)
    }
}
