<#
.SYNOPSIS
    Deletes an entry of a VHD Set; with keepReference its change tracking stays.
.DESCRIPTION
    Input: { settings, path, snapshotId, keepReference }. Output: { removed }. Gone already is fine.
    Source: hyperv.md 1.6 (DeleteVHDSnapshot, PersistReferenceSnapshot), 2.1 (Remove-VHDSnapshot).
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
    $wanted = ConvertTo-GcbGuid -Text ([string]$Request.snapshotId)
    $entry = @(Get-GcbVhdSetEntry -ImageService $images -Path $Request.path | Where-Object -FilterScript { $_.snapshotId -eq $wanted })
    if ($entry.Count -gt 0) {
        [void](Invoke-GcbMethod -Target $images -MethodName DeleteVHDSnapshot -Arguments @{ VHDSetPath = [string]$Request.path; SnapshotId = [string]$Request.snapshotId; PersistReferenceSnapshot = [bool]$Request.keepReference } -Subject $Request.path -TimeoutMs ([long]$Request.settings.callTimeoutMs))
    }
    [ordered]@{ removed = ($entry.Count -gt 0) }
}
