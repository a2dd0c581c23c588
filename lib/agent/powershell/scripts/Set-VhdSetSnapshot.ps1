<#
.SYNOPSIS
    Adds an entry to a VHD Set, or overwrites the one with the same id.
.DESCRIPTION
    Input: { settings, path, snapshotId, snapshotPath, rctId }. Output: { snapshotId }.
    "Update the VHD Set checkpoint references" of the chapter: repairs a set whose entry names a file that moved.
    Source: hyperv.md 1.6 (SetVHDSnapshotInformation), 4.2 (ModifyVhdSet).
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
    $class = Get-CimClass -Namespace $Request.settings.namespace -ClassName Msvm_VHDSnapshotInformation
    $instance = New-CimInstance -CimClass $class -ClientOnly -Property @{
        FilePath                  = [string]$Request.path
        SnapshotId                = [string]$Request.snapshotId
        SnapshotPath              = [string]$Request.snapshotPath
        ResilientChangeTrackingId = [string]$Request.rctId
    }
    [void](Invoke-GcbMethod -Target $images -MethodName SetVHDSnapshotInformation -Arguments @{ Information = (ConvertTo-GcbEmbedded -Instance $instance) } -Subject $Request.path -TimeoutMs ([long]$Request.settings.callTimeoutMs))
    [ordered]@{ snapshotId = [string]$Request.snapshotId }
}
